from k600.train import *
