"""Schemas of Kafka's messages that kafka-python does not ship, in Kafka's own form (clients/.../common/message, 4.3).

Copied field by field from Kafka's sources (Apache License 2.0), without what only its documentation generator reads.
"""
