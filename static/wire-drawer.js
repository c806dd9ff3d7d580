// The drawer with the frames of the answer as they came.
