"""The program `ownshelf`: one file a command; bodies parse, call one function and print."""
