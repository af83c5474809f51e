"""``python -m subshot``: the command, where it is not on the path."""

from subshot.cli.main import main

if __name__ == "__main__":
    main()
