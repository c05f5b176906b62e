"""Coverage-guided fuzzing: ``targets`` are functions of bytes, ``seeds`` their first inputs, ``found`` what broke them
once. ``make fuzz`` runs them under atheris, ``test_corpus.py`` runs them over what is known already."""
