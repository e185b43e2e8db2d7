"""earmark on other people's engines: Ray and Spark. Thin: what they hand out, `recordings` works on."""
