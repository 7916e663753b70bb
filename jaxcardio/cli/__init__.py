"""The command line: `arguments` says what each verb accepts; a module for each verb does it."""
