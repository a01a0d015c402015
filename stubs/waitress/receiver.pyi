from waitress.buffers import OverflowableBuffer

class FixedStreamReceiver:
    def __init__(self, cl: int, buf: OverflowableBuffer) -> None: ...
