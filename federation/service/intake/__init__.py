"""Where reports come in: judged by their heads, made durable, counted once."""
