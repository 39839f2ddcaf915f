"""
Several processes for one role: the first process opens the listeners and starts the workers, which
serve the requests.
"""
