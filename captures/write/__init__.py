"""Records and drafts to captures and folders of channel files: the one writer, and what it may write to."""
