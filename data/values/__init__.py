"""Values as people write them: numbers with currencies, words for events, for nobody and for availability."""
