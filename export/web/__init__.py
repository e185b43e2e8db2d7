"""A bundle as a static web page that explains in the browser, without a server of its own."""
