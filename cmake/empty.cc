// libesa is made of the modules of src/; a library target needs a source of its own.
