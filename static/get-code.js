// The dialog that shows the request as code.
