"""Several `panicroom run` on one PostgreSQL: all take in, one works, and another one goes on when it is gone."""
