"""What a score is made of: item table, profile, intent, trend. One formula for all parties."""
