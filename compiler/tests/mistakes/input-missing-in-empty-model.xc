model m
