from kansym.cli import main

main()
