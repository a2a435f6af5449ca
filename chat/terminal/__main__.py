import sys

from chat.terminal.command import main

if __name__ == "__main__":
    sys.exit(main())
