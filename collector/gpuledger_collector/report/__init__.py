"""The capacity review: queries of `gpuledger_sql/report`, one model, a renderer per format."""
