"""The study of laws: which networks it trains, what each law says of them, and the table of both."""
