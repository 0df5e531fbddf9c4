"""Pages for people: the front page with its links, the document of the API, the demo shop."""
