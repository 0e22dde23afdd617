"""Trained models in use: inference, banks of adapters, export, deployment, the app."""
