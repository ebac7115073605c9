"""The smallest lab there can be, for tests of the kit. Its checks are not tests of the kit's own."""

collect_ignore_glob = ["*"]
