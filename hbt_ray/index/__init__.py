"""From texts to ranked documents: encode once, one exact shard per language, search over any of them."""
