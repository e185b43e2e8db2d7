"""Output folders of SpeechBrain's ESC-50 interpret recipes."""
