"""python -m aeros.dashboard: started by the supervisor, with its channel, socket and settings as descriptors."""

from .service import main

if __name__ == "__main__":
    main()
