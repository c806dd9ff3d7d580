import os

# Threads that spin while they wait make every step several times slower beside other busy processes.
# torch reads this when it is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
