"""Many runs as one piece of work: started, watched, resumed, on one machine or on a cluster."""
