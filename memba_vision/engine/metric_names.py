"""Names of metrics in what mmengine hands to hooks and writes into logs."""

TOP1 = 'accuracy/top1'  # in percent
