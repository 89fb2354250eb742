"""The demo: real models, real traffic over HTTP, a drift that is found, told and resolved."""
