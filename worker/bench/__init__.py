"""How fast this machine is: `largesse bench`.

stage     a broker, a stand-in for the API and worker processes, all ended at the end
measure   enqueue, work off a backlog, wait for single jobs, look whether all is right
report    the figures
"""
