# A linear probe at the rate and for the time of the adapters has not converged and misleads.
_base_ = './vtab1k_100e.py'

optim_wrapper = dict(optimizer=dict(lr=1e-2))
