"""An experiment planned and rehearsed on a log, before any shopper is asked."""
