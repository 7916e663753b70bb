"""Running a cell: the request, the runners that carry it out, and the trace of what came of it.

`simulate` (simulate.py) has its arguments checked once and made into one request (request.py); one of the runners takes
the request and returns states (fixed.py, adaptive.py, closed_form.py); one place makes the trace (trace.py).
"""
