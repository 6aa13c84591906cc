"""Receives the frames of frames_sender.py, and unpickles them itself, with plain pickle.

usage: frames_receiver.py ADDRESS
"""

import pickle
import sys

import pannier


def main(address: str) -> None:
    with pannier.Listener(address) as listener, listener.accept() as connection:
        while True:
            try:
                message = connection.recv_message()
            except pannier.ConnectionLost:
                break  # the sender is done
            frame = pickle.loads(message.stream, buffers=message.buffers)
            left = int(frame["image"][0, :, 0].argmax())
            print(f"frame {frame['number']}: {frame['image'].shape}, the bar is at {left}")


if __name__ == "__main__":
    main(*sys.argv[1:])
