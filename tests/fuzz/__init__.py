"""What strangers may send, in every shape: nothing of it may be answered otherwise than with a refusal."""
