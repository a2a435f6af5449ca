"""The audit log: who changed what and when, who signed in, and who was refused.

django-auditlog keeps the rows and compares the fields. Ours is which models it watches
(`registration`), whose change it was (`actor`), what is no change of a row (`events`),
and the files that auditors take home (`exports`).
"""
