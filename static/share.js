// The dialog that makes a shared link of an answer.
