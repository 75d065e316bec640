"""`python -m mlspine` is the command line."""

from mlspine.cli.main import main

if __name__ == "__main__":
    main()
