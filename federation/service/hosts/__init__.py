"""What several hosts of one service share: storage, the lock of who advances rounds, clocks that must agree."""
