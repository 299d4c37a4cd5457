"""x"""
BUGS = {}
