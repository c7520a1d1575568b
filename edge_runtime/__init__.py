"""Edge Runtime: the device. Quantized models on the engine measured fastest here, a cloud only through a port."""
