"""Where a submission comes from: `record` puts it into the file and finds it again, `page` tells it."""
