"""An app that cannot be indexed."""

import azure.functions as func

app = func.FunctionApp()

raise ValueError("the app is not well")
