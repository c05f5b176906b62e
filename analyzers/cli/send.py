"""x"""

command = None
