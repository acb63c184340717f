from k600.errors import *
