"""Django groups Chinese numbers by four and puts nothing between the groups; accounts
of tokens and money are written 718,627."""

NUMBER_GROUPING = 3
THOUSAND_SEPARATOR = ","
