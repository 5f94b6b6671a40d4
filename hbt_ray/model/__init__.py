"""A text encoder: which model, prompts and limits, tokenizer, packed attention, FLOPs and memory."""
