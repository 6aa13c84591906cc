import sys, pannier

server = pannier.Server(sys.argv[1] if sys.argv[1:] else "ipc:///tmp/calls.sock")
@server.method
def scale(x, k):
    return k * x

server.serve_forever()
