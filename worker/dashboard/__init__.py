"""The web page for those who look after a queue.

    browser -> access (who, headers) -> pages -> OperatorClient -> Redis
                                      live  -> the same, again and again

It imports neither the API client nor the actors: it never calls the API.
"""
