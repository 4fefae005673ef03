"""What the pages of results share: plots, style, statistics, progress."""
